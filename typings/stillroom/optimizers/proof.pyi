from optimizers.proof import *
