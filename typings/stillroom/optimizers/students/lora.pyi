from optimizers.students.lora import *
