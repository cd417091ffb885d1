from optimizers import *
