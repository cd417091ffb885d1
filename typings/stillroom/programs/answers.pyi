from programs.answers import *
