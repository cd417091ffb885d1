from optimizers.students.module import *
