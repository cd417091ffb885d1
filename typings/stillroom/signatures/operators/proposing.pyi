from signatures.operators.proposing import *
