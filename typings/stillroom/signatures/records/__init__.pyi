from signatures.records import *
