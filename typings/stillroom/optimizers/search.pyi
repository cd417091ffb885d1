from optimizers.search import *
