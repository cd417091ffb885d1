from optimizers.study import *
