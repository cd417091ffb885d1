from signatures.operators.judging import *
