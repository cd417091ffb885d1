from programs.table import *
