from optimizers.moves import *
