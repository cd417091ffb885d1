from signatures.cells import *
