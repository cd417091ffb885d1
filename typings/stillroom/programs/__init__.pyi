from programs import *
