from optimizers.teleprompt.modules import *
