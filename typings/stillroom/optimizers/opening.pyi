from optimizers.opening import *
