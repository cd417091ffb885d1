from optimizers.teleprompt.module_plan import *
