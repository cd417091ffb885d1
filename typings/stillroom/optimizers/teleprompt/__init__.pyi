from optimizers.teleprompt import *
