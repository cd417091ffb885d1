from optimizers.settings import *
