from optimizers.sweep.grid import *
