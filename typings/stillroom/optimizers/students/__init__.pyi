from optimizers.students import *
