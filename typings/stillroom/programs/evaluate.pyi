from programs.evaluate import *
