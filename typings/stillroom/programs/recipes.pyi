from programs.recipes import *
