from optimizers.sweep.queue import *
