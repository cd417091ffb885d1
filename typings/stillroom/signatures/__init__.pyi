from signatures import *
