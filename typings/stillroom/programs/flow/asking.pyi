from programs.flow.asking import *
