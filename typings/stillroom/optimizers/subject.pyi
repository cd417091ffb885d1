from optimizers.subject import *
