from optimizers.propose import *
