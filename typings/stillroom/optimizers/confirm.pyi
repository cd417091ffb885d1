from optimizers.confirm import *
