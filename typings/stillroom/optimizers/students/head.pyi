from optimizers.students.head import *
