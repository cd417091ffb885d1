from programs.write import *
