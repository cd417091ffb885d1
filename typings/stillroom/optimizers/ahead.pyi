from optimizers.ahead import *
