from optimizers.teleprompt.declared import *
