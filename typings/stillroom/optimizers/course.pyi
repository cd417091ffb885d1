from optimizers.course import *
