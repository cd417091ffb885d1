from optimizers.storage import *
