from signatures.records.files import *
