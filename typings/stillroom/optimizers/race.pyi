from optimizers.race import *
