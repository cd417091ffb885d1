from optimizers.program import *
