from optimizers.sweep.worker import *
