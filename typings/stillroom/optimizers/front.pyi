from optimizers.front import *
