from signatures.operators import *
