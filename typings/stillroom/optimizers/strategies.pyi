from optimizers.strategies import *
