from optimizers.sweep.table import *
