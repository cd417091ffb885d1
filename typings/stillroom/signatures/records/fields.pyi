from signatures.records.fields import *
