from optimizers.demos import *
