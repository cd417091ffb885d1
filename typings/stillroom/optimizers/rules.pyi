from optimizers.rules import *
