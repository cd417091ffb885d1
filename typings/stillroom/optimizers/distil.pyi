from optimizers.distil import *
