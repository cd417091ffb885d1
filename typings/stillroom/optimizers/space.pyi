from optimizers.space import *
