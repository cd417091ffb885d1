from optimizers.teleprompt.metrics import *
