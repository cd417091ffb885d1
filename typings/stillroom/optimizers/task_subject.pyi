from optimizers.task_subject import *
