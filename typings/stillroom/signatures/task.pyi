from signatures.task import *
