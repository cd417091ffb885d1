from optimizers.systems import *
