from signatures.formats import *
