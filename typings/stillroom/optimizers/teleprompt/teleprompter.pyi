from optimizers.teleprompt.teleprompter import *
