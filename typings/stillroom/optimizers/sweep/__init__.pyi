from optimizers.sweep import *
